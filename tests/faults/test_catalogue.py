"""The fault catalogue, row by row: which tests show that what it promises is so.

A row says what can go wrong and what mprun does then; its tests inject the fault and fail when
the defence is taken out. Here is where they are, and that they are still there.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROWS = list(range(1, 61))

# The rows without a test, and why.
WAITING: dict[int, str] = {}

MODEL, ENDINGS = "process/test_process_model.py", "process/test_task_exits.py"
OUTPUT = "process/test_command_output.py"
ENDLESS = "faults/test_endless_patterns.py"
REFUSED = "faults/test_refused_pidfds.py"
UNTRUSTED = "faults/test_untrusted_state.py"
BUDGET, FILES = "unit/test_loader_budget.py", "unit/test_text_file.py"
SHOWN = {
    "1 engine killed": [
        f"{MODEL}::test_no_process_outlives_an_engine_that_was_killed",
        "faults/test_killed_processes.py::test_no_process_outlives_a_kill_at_a_random_moment",
        "faults/test_killed_processes.py::test_no_process_outlives_an_engine_that_is_killed_during_an_import",
        "faults/test_killed_processes.py::"
        "test_no_process_outlives_an_engine_that_is_killed_before_the_fork_server_answers",
        "faults/test_stopped_processes.py::"
        "test_no_process_outlives_an_engine_that_is_killed_while_the_launcher_is_stopped",
        "faults/test_recovery.py::test_the_next_start_kills_what_a_killed_run_left_and_completes_its_record",
    ],
    "2 engine and launcher killed": [
        "faults/test_killed_processes.py::test_no_process_outlives_a_kill_at_a_random_moment",
        "faults/test_recovery.py::test_a_recorded_task_is_killed_with_its_session_and_descendants",
        "process/test_facts.py::test_the_parent_death_signal_is_not_inherited",
        "process/test_facts.py::test_the_parent_death_signal_comes_when_the_thread_that_forked_ends",
    ],
    "3 SIGTERM": [
        f"{MODEL}::test_a_signal_to_the_engine_stops_every_task_and_completes_the_record",
        "unit/test_scheduler.py::test_stop_cancels_waiting_tasks_and_signals_running_ones_last_started_first",
    ],
    "4 second Ctrl-C": [
        f"{MODEL}::test_a_second_ctrl_c_kills_tasks_that_ignore_the_first",
        "unit/test_scheduler.py::test_second_stop_kills_at_once",
    ],
    "5 SIGHUP, terminal gone": [
        f"{MODEL}::test_a_signal_to_the_engine_stops_every_task_and_completes_the_record",
        "faults/test_ends.py::test_closing_the_terminal_stops_the_run_like_a_signal",
        "faults/test_ends.py::test_a_terminal_that_disappears_without_a_signal_changes_nothing",
    ],
    "6 suspended": [
        "process/test_stop_and_suspend.py::test_every_process_of_every_task_is_suspended_and_resumed",
        "process/test_stop_and_suspend.py::test_timers_pause_while_suspended",
        "process/test_stop_and_suspend.py::test_attempt_that_ended_in_time_while_the_engine_was_stopped_does_not_time_out",
    ],
    "7 signals ignored or blocked": [
        f"{MODEL}::test_no_signal_is_blocked_or_ignored_in_a_task_even_if_it_was_for_mprun",
        "process/test_regressions.py::test_module_that_ignores_sigchld_changes_nothing",
        "faults/test_inherited_signals.py::test_mprun_handles_signals_that_were_ignored_or_blocked_when_it_started",
    ],
    "8 launcher killed": [
        f"{MODEL}::test_a_killed_launcher_fails_the_run_at_once_and_leaves_no_task",
        f"{MODEL}::test_a_killed_launcher_leaves_no_children_of_tasks",
        "faults/test_killed_processes.py::test_no_process_outlives_a_kill_at_a_random_moment",
    ],
    "9 stdout closed": [
        "cli/test_views.py::test_closed_stdout_changes_nothing_else",
        "cli/test_views.py::test_closed_descriptors_go_nowhere",
    ],
    "10 wall clock jumps": [
        "faults/test_ends.py::test_jumps_of_the_wall_clock_change_no_timer_and_no_duration",
    ],
    "11 two runs at once": [
        "cli/test_records.py::test_two_runs_at_once_in_one_state_directory",
        "faults/test_recovery.py::test_two_starts_at_once_complete_a_record_once",
    ],
    "12 older and newer records": [
        "faults/test_record_damage.py::test_a_record_of_the_first_version_is_read",
        "faults/test_record_damage.py::test_a_newer_record_is_refused_by_name_by_every_reader",
        "cli/test_records.py::test_a_newer_format_is_refused_by_name",
    ],
    "13 sys.exit": [
        f"{ENDINGS}::test_the_record_has_the_exit_the_error_and_the_result",
        "process/test_facts.py::test_multiprocessing_shows_an_exit_code_of_256_as_0",
    ],
    "14 killed, crashed": [
        f"{ENDINGS}::test_the_record_has_the_exit_the_error_and_the_result",
        f"{ENDINGS}::test_output_before_the_end_is_kept",
    ],
    "15 memory": [
        "process/test_commands_and_limits.py::test_an_error_at_a_limit_is_reported",
        "process/test_commands_and_limits.py::test_no_limit_is_reported_as_reached_without_evidence",
    ],
    "16 results that are not JSON": [
        f"{ENDINGS}::test_results_that_are_not_json_stay_in_files",
        "process/test_pipelines.py::test_result_that_is_not_json_fails_only_the_tasks_that_refer_to_it",
        "process/test_results.py::test_a_result_that_cannot_be_passed_on_is_warned_of_as_soon_as_it_is_there",
    ],
    "17 exceptions that cannot be rebuilt": [
        f"{ENDINGS}::test_the_record_has_the_exit_the_error_and_the_result",
        f"{ENDINGS}::test_output_before_the_end_is_kept",
    ],
    "18 deep recursion": [
        f"{ENDINGS}::test_the_record_has_the_exit_the_error_and_the_result",
        f"{ENDINGS}::test_results_that_are_not_json_stay_in_files",
    ],
    "19 targets that cannot be imported": [
        f"{MODEL}::test_a_failed_import_is_reported_and_nothing_is_started",
        "cli/test_job_files.py::test_import_errors_are_explained_to_the_letter",
        "unit/test_targets.py::test_a_missing_module_is_reported_by_the_part_that_is_missing",
    ],
    "20 imports that hang": [
        "faults/test_killed_processes.py::test_processes_that_a_hanging_import_has_started_end_with_it",
        f"{MODEL}::test_a_failed_import_is_reported_and_nothing_is_started",
    ],
    "21 double forks": [
        f"{ENDINGS}::test_a_grandchild_in_a_session_of_its_own_is_killed_and_reported",
        f"{ENDINGS}::test_orphans_of_a_failed_task_are_killed_and_do_not_change_its_outcome",
    ],
    "22 grandchildren hold the output": [
        f"{ENDINGS}::test_children_with_the_log_open_do_not_delay_the_end_and_are_killed_and_reported",
    ],
    "23 ignores SIGTERM": [
        "faults/test_ends.py::test_a_task_that_ignores_the_stop_signal_is_killed_after_its_grace",
        "process/test_policies.py::test_task_that_ignores_the_stop_signal_is_killed_with_its_children",
    ],
    "24 stops itself": [
        "faults/test_ends.py::test_a_task_that_stops_itself_is_shown_and_gets_the_stop_signal",
        "faults/test_ends.py::"
        "test_a_task_that_stops_itself_runs_no_code_at_its_timeout_before_the_stop_signal",
        "faults/test_ends.py::test_a_task_that_stops_itself_again_is_killed_after_its_grace",
        "faults/test_ends.py::test_a_task_of_a_suspended_run_gets_its_stop_signal_when_it_resumes",
    ],
    "25 ends with its timeout": [
        "faults/test_ends.py::test_a_task_that_ended_before_its_timeout_succeeds_even_if_the_engine_looks_late",
        "faults/test_ends.py::test_a_task_that_ends_at_its_timeout_has_one_outcome",
        "unit/test_scheduler.py::test_attempt_that_ended_before_its_timeout_was_noticed_has_not_timed_out",
    ],
    "26 threads that stay": [
        "faults/test_ends.py::test_a_thread_that_outlives_the_target_keeps_the_task_running_until_its_timeout",
        f"{ENDINGS}::test_a_thread_that_is_not_a_daemon_is_waited_for",
    ],
    "27 daemons with children": [
        "faults/test_ends.py::test_a_daemon_that_may_not_have_children_fails_with_a_hint",
        f"{ENDINGS}::test_a_daemon_that_starts_a_child_fails_with_multiprocessings_own_error",
    ],
    "28 kills its parent, or its group": [
        f"{MODEL}::test_a_task_that_kills_the_launcher_fails_the_run_and_is_unknown",
        "faults/test_stopped_processes.py::test_a_task_that_stops_its_parent_does_not_delay_other_tasks",
        "faults/test_stopped_processes.py::test_a_launcher_that_is_stopped_again_and_again_is_killed",
        f"{ENDINGS}::test_the_record_has_the_exit_the_error_and_the_result",
    ],
    "29 floods": [
        "faults/test_output.py::test_two_floods_come_through_whole_and_are_not_held_in_memory",
        "faults/test_output.py::test_a_task_that_exceeds_its_log_limit_is_stopped_soon_and_the_outcome_says_so",
    ],
    "30 giant and binary lines": [
        "faults/test_output.py::test_a_line_of_100_mb_with_every_byte_is_exact_in_the_log_and_visible_in_views",
        f"{ENDINGS}::test_bytes_are_exact_in_the_log_and_text_is_utf_8",
        "cli/test_views.py::test_giant_line_is_shown_in_bounded_memory",
        "cli/test_views.py::test_terminal_shows_colours_and_visible_control_characters",
    ],
    "31 closes its output": [
        f"{ENDINGS}::test_a_task_may_close_or_replace_its_standard_output",
        f"{ENDINGS}::test_an_error_is_recorded_even_if_there_is_no_stream_to_print_it_on",
    ],
    "32 buffers that are forked": [
        f"{ENDINGS}::test_text_buffered_at_import_is_printed_once",
        f"{ENDINGS}::test_half_a_line_is_kept_and_printed_once",
    ],
    "33 log disk full": [
        "faults/test_full_disks.py::test_a_task_that_fills_the_disk_of_its_log_fails_and_the_run_continues",
        "faults/test_full_disks.py::test_output_that_cannot_be_written_is_the_tasks_own_error",
    ],
    "34 no descriptors or processes": [
        "faults/test_lack_of_resources.py::test_a_start_without_free_descriptors_is_retried_and_others_are_unaffected",
        "faults/test_lack_of_resources.py::test_a_start_without_free_processes_is_retried",
    ],
    "35 state disk full": [
        "faults/test_full_disks.py::test_a_record_that_cannot_grow_ends_the_run_in_order",
        "faults/test_full_disks.py::test_a_disk_that_has_room_again_gets_the_whole_record",
        "faults/test_full_disks.py::"
        "test_a_disk_under_everything_that_is_full_ends_the_run_with_what_was_recorded",
        "faults/test_full_disks.py::test_a_run_on_a_full_disk_starts_nothing",
    ],
    "36 killed before the record": [
        "faults/test_chaos.py::test_the_record_of_a_killed_run_can_be_trusted",
        "faults/test_resume.py::test_after_a_killed_engine_tasks_of_unknown_outcome_run_again_only_if_asked",
    ],
    "37 corrupt records": [
        "faults/test_record_damage.py::test_no_reader_changes_a_byte_or_fails_without_a_message",
        "faults/test_record_damage.py::test_the_readable_part_of_a_corrupt_record_is_read",
        "faults/test_record_damage.py::test_a_run_beside_corrupt_ones_succeeds_and_changes_none",
        "faults/test_record_damage.py::test_a_read_only_state_directory_is_read_and_a_run_uses_another",
        "cli/test_records.py::test_garbage_in_the_middle_is_left_out_with_a_warning",
    ],
    "38 numbers that are used again": [
        "process/test_pidfd_signals.py::test_a_process_with_the_same_pid_and_another_start_time_is_not_killed",
        "process/test_pidfd_signals.py::test_no_signal_reaches_a_group_that_has_the_pid_of_a_reaped_process",
        "faults/test_recovery.py::test_a_process_that_has_got_the_pid_of_a_task_since_is_left_alone",
    ],
    "39 retry storms": [
        "faults/test_ends.py::test_a_storm_of_retries_is_capped_spread_and_shown",
        "faults/test_ends.py::test_a_daemon_that_fails_soon_is_restarted_with_growing_delays",
    ],
    "40 bombs": [
        "cli/test_job_files.py::test_a_hostile_file_is_refused_quickly_with_its_line",
        "cli/test_job_files.py::test_command_refuses_yaml_bombs",
        "unit/test_document.py::test_a_bomb_is_refused_in_well_under_a_second_and_128_mb",
    ],
    "41 values that YAML takes for others": [
        "faults/test_input.py::test_values_reach_the_task_as_yaml_1_2_means_them",
        "faults/test_input.py::test_ambiguous_yaml_is_refused_with_its_position",
        "unit/test_document.py::test_yaml_1_1_booleans_dates_and_octals_are_strings",
        "unit/test_document.py::test_duplicate_keys_are_found_at_any_depth",
    ],
    "42 cycles": [
        "unit/test_task_checks.py::test_a_cycle_is_shown_with_its_path",
        "unit/test_task_checks.py::test_a_task_cannot_depend_on_itself",
        "cli/test_job_files.py::test_a_chain_of_ten_thousand_is_read_and_planned_quickly",
        "unit/test_scheduler.py::test_chain_of_ten_thousand_needs_no_recursion",
    ],
    "43 names": [
        "faults/test_input.py::test_every_name_has_files_of_its_own_and_all_are_in_the_runs_directory",
        "faults/test_input.py::test_no_name_acts_on_a_terminal_or_in_a_report",
        "faults/test_input.py::test_a_name_that_is_unsafe_in_a_file_or_terminal_is_refused",
        "unit/test_state_dir.py::test_different_names_have_different_files_on_any_file_system",
    ],
    "47 services stopped in the same instant": [
        "process/test_ordered_stops.py::test_services_end_in_order_at_the_end_of_the_run",
        "process/test_ordered_stops.py::test_services_end_in_order_after_a_signal",
        "process/test_ordered_stops.py::test_a_task_that_ignores_its_signal_delays_others_by_its_grace",
        "unit/test_stop_order.py::test_a_task_is_asked_once_everything_that_depends_on_it_has_ended",
        "unit/test_scheduler_random.py::test_random_runs_keep_every_promise",
    ],
    "46 output opened again, or read by the task that writes it": [
        f"{OUTPUT}::test_a_script_opens_its_output_again_and_no_byte_is_lost",
        f"{OUTPUT}::test_a_program_opens_its_output_again_and_no_byte_is_lost",
        f"{OUTPUT}::test_a_command_reads_all_files_of_its_directory_its_own_log_among_them",
        f"{OUTPUT}::test_commands_that_read_the_logs_of_one_another_come_to_an_end",
        f"{OUTPUT}::test_a_target_that_truncates_its_log_does_not_fail_and_the_log_says_so",
        f"{OUTPUT}::test_what_a_child_that_was_left_behind_writes_is_in_no_other_log",
        "faults/test_command_output.py::test_no_byte_that_a_command_has_written_is_lost_by_a_kill",
        "faults/test_command_output.py::test_a_start_after_a_kill_of_both_waits_until_the_output_is_saved",
        "faults/test_command_output.py::"
        "test_a_log_that_cannot_be_written_fails_the_task_and_the_record_says_why",
    ],
    "48 two signals that are one": [
        "faults/test_ends.py::test_a_shell_that_ends_with_its_terminal_does_not_cut_the_grace",
        "faults/test_ends.py::test_two_signals_that_are_one_do_not_cut_the_grace",
        "faults/test_ends.py::test_a_hangup_never_cuts_the_grace",
        "unit/test_signals.py::test_two_signals_at_once_are_one_unless_both_are_ctrl_c",
    ],
    "44 a remote worker is lost": [
        "process/test_lost_hosts.py::test_a_lost_attempt_runs_again_once_the_first_one_is_dead",
        "process/test_lost_hosts.py::test_a_late_answer_is_ignored_and_said",
        "process/test_lost_hosts.py::test_a_resume_runs_what_was_lost_again",
        "process/test_hosts.py::test_what_runs_on_a_host_that_is_lost_is_unknown_and_the_others_continue",
        "unit/test_hosts.py::test_a_message_that_was_long_under_way_lets_no_agent_continue",
        "unit/test_scheduler_hosts.py::test_a_task_that_kills_its_hosts_does_not_run_without_end",
    ],
    "45 successes that were none": [
        "process/test_end_marks.py::test_exit_code_0_alone_does_not_prove_success",
        "process/test_end_marks.py::test_a_mark_counts_for_one_attempt",
        "process/test_end_marks.py::test_only_an_expected_exit_code_accepts_it",
        "process/test_worker.py::test_a_target_that_returns_what_never_ran_fails_and_says_how_to_run_it",
        "process/test_worker.py::test_a_target_that_never_ran_meets_no_expectation",
        "process/test_worker.py::test_a_forked_child_that_comes_back_from_the_target_ends_with_its_own_code",
        "process/test_verdicts.py::test_a_service_that_ends_before_it_is_ready_fails_the_run_C02",
        "process/test_verdicts.py::test_the_last_line_says_that_a_skip_failed_the_run_C02",
        "unit/test_verdict.py::test_exit_0_if_and_only_if_the_table_says_so_over_random_graphs",
    ],
    "50 state that cannot be trusted, or is without locks": [
        "faults/test_replaced_files.py::test_nothing_is_written_to_what_is_in_the_place_of_a_file",
        "faults/test_replaced_files.py::test_the_stacks_of_a_task_go_to_no_other_file",
        "faults/test_replaced_files.py::test_a_record_that_has_another_name_gets_no_end",
        "faults/test_namespaces.py::test_a_run_that_cannot_be_seen_is_left_alone",
        "faults/test_namespaces.py::test_a_run_whose_namespace_is_gone_is_recovered",
        "faults/test_no_locks.py::test_a_run_without_an_end_is_removed_only_if_it_is_certain",
        "faults/test_recovery.py::test_a_forged_record_that_names_a_stranger_has_nothing_killed",
        f"{UNTRUSTED}::test_a_run_uses_a_temporary_directory_in_place_of_one_that_is_not_its_own",
        f"{UNTRUSTED}::test_a_reader_refuses_a_state_directory_that_is_not_its_own",
        f"{UNTRUSTED}::test_a_start_removes_nothing_behind_a_link",
        f"{UNTRUSTED}::test_a_run_that_is_a_link_is_named_and_neither_removed_nor_completed",
        f"{UNTRUSTED}::test_stop_does_not_signal_a_stranger_who_holds_a_lock_behind_a_link",
        f"{UNTRUSTED}::test_a_record_that_is_not_a_file_is_named_and_the_others_are_shown",
        f"{UNTRUSTED}::test_a_sparse_record_of_20_gb_costs_little_memory",
        f"{UNTRUSTED}::test_a_log_that_is_a_hole_of_20_gb_is_not_read",
        f"{UNTRUSTED}::test_a_log_of_which_nothing_but_a_hole_is_there_is_named",
        "faults/test_recovery.py::"
        "test_a_copied_or_forged_state_directory_has_no_process_of_the_run_elsewhere_killed",
        f"{UNTRUSTED}::test_the_engine_does_not_wait_for_fifos_that_a_task_puts_into_its_run",
    ],
    "57 the record removed under a run": [
        f"{UNTRUSTED}::test_a_run_whose_record_is_removed_ends_in_order_with_a_reason",
        f"{UNTRUSTED}::test_a_run_whose_last_task_removes_the_record_does_not_succeed",
        f"{UNTRUSTED}::test_a_record_that_git_clean_removes",
        f"{UNTRUSTED}::test_a_run_whose_record_cannot_be_read_any_more_does_not_succeed",
    ],
    "51 readers that do not read": [
        "faults/test_readers_that_do_not_read.py::"
        "test_a_flood_into_a_pipe_that_no_one_drains_holds_up_no_timeout_and_no_record",
        "faults/test_readers_that_do_not_read.py::test_ctrl_c_ends_a_run_of_which_no_one_reads_a_stream",
        "faults/test_readers_that_do_not_read.py::test_a_terminal_that_is_stopped_holds_up_no_timeout",
        "faults/test_readers_that_do_not_read.py::test_a_socket_holds_up_nothing",
        "faults/test_readers_that_do_not_read.py::"
        "test_what_was_not_shown_can_be_found_if_no_stream_takes_a_message",
        "faults/test_readers_that_do_not_read.py::"
        "test_events_that_no_one_reads_hold_up_nothing_and_are_whole_up_to_where_they_end",
        "faults/test_watchdog.py::test_no_turn_of_the_loop_sleeps",
    ],
    "53 types that are known late, and defects of mprun": [
        "unit/test_loader_types.py::test_a_whole_reference_of_any_type_in_any_key_is_read_or_refused_C54",
        "unit/test_loader_types.py::test_a_type_that_is_known_is_checked_before_the_start_C54",
        "process/test_late_types.py::test_a_type_that_is_known_late_fails_its_task_with_a_reason_C54",
        "process/test_late_types.py::"
        "test_a_result_that_is_gone_when_a_retry_starts_fails_the_task_and_not_the_engine_C54",
        "process/test_late_types.py::"
        "test_a_name_of_an_argument_that_is_known_late_is_filled_in_or_fails_its_task_C54",
        "faults/test_defects.py::test_a_defect_stops_the_tasks_and_is_recorded_as_exit_3",
        "faults/test_defects.py::test_a_defect_while_the_record_cannot_be_written_ends_the_run",
        "faults/test_defects.py::test_a_killed_engine_with_a_defect_leaves_nothing",
        "faults/test_defects.py::test_a_defect_is_told_whatever_is_shown",
        "faults/test_defects.py::test_a_defect_of_another_command_shows_no_traceback",
    ],
    "54 a job file that asks for more than there is": [
        f"{BUDGET}::test_a_long_param_in_many_places_is_refused_where_the_budget_ran_out_C55",
        f"{BUDGET}::test_recipes_that_double_a_value_are_refused_C55",
        f"{BUDGET}::test_recipes_that_use_the_next_twice_and_end_in_an_empty_list_are_refused_C55",
        f"{BUDGET}::test_large_defaults_of_many_tasks_are_refused_at_the_defaults_C55",
        f"{BUDGET}::test_many_patterns_among_many_names_are_refused_C55",
        f"{BUDGET}::test_a_long_text_that_is_not_free_text_is_refused_soon_with_its_place_C55",
        f"{BUDGET}::test_the_generated_files_of_make_reliability_are_soon_refused_or_read_C55",
        f"{FILES}::test_what_is_not_a_regular_file_is_refused_wherever_a_file_is_named_C55",
    ],
    "55 a file that is not a job file": [
        f"{FILES}::test_nothing_of_a_file_that_is_not_a_job_file_is_quoted_C56",
        f"{FILES}::test_no_value_of_a_yaml_file_without_tasks_is_quoted_C56",
        "cli/test_restrict.py::test_a_file_outside_the_directory_is_refused_at_its_name_C56",
        "cli/test_restrict.py::test_in_ci_the_git_work_tree_is_the_limit_C56",
    ],
    "59 signals in the first and last milliseconds": [
        "faults/test_last_signals.py::test_a_storm_of_signals_after_the_end_was_recorded_changes_nothing",
        "faults/test_last_signals.py::"
        "test_a_storm_of_signals_from_the_first_event_on_ends_with_the_exit_code_of_the_record",
        "faults/test_first_moments.py::test_a_signal_at_any_of_the_first_moments_ends_mprun_without_a_word",
    ],
    "58 orphans that are not reaped, chains of forks, traced leaders": [
        "faults/test_orphans.py::test_background_helpers_are_reaped_while_their_task_runs",
        "faults/test_orphans.py::test_a_task_that_waits_for_all_children_gets_its_own_alone",
        "faults/test_orphans.py::test_an_orphan_lives_as_long_as_its_task",
        "faults/test_orphans.py::test_an_orphan_that_has_lost_its_tag_lives_as_long_as_its_task",
        "faults/test_orphans.py::test_an_orphan_that_has_lost_its_tag_lives_on_when_a_probe_ends",
        "faults/test_orphans.py::test_chains_of_forks_end_with_their_task",
        "faults/test_orphans.py::test_chains_of_forks_end_with_a_killed_engine",
        "faults/test_orphans.py::test_chains_of_forks_end_with_a_killed_launcher",
        "faults/test_orphans.py::test_a_tracer_does_not_hold_a_task_at_its_exit",
        "faults/test_orphans.py::test_what_became_another_user_ends_with_a_run_that_has_a_cgroup",
        "faults/test_run_cgroups.py::test_chains_of_forks_end_at_once",
        "faults/test_run_cgroups.py::test_what_hides_is_killed_by_the_next_start",
        "faults/test_run_cgroups.py::test_a_copy_of_a_state_directory_has_nothing_killed",
        "faults/test_run_cgroups.py::test_what_a_target_starts_at_import_is_killed_by_the_next_start",
        "faults/test_run_cgroups.py::test_what_has_the_name_of_a_cgroup_that_is_gone_is_left_alone",
        "faults/test_run_cgroups.py::test_the_end_of_a_launcher_ends_no_cgroup_of_the_same_name",
    ],
    "49 helpers killed as orphans": [
        "faults/test_shared_memory.py::test_what_a_task_leaves_in_shared_memory_is_removed",
        "faults/test_shared_memory.py::test_a_fork_has_a_tracker_of_its_own_which_ends_with_the_task",
        "faults/test_shared_memory.py::"
        "test_shared_memory_of_a_module_is_shared_by_the_tasks_and_removed_with_the_job",
        "faults/test_shared_memory.py::test_what_only_looks_like_a_tracker_does_not_outlive_the_run",
    ],
    "52 a pattern that does not end": [
        f"{ENDLESS}::test_a_file_with_an_endless_pattern_is_refused_at_its_place",
        f"{ENDLESS}::test_an_expected_output_that_takes_forever_fails_and_nothing_waits_for_it",
        f"{ENDLESS}::test_a_service_whose_pattern_takes_forever_is_not_ready",
        f"{ENDLESS}::test_what_a_service_has_printed_before_its_end_is_read_beside_the_loop",
        f"{ENDLESS}::test_no_process_that_matches_outlives_a_killed_run",
        "unit/test_matcher.py::test_a_pattern_that_does_not_end_is_ended_and_the_next_one_is_matched",
    ],
    "60 pidfd calls refused": [
        f"{REFUSED}::test_each_call_may_be_refused_with_any_error",
        f"{REFUSED}::test_timeouts_end_tasks_and_all_that_they_have_started",
        f"{REFUSED}::test_fail_fast_and_a_service_with_a_probe",
        f"{REFUSED}::test_stop_signals_the_engine",
        f"{REFUSED}::test_no_process_outlives_a_run_of_which_a_process_is_killed",
    ],
    "56 what CI would take for a command, what a terminal would obey": [
        "cli/test_hostile_texts.py::test_nothing_in_a_job_file_acts_on_who_reads_of_it",
        "cli/test_hostile_texts.py::test_nothing_of_a_run_acts_on_who_reads_of_it",
        "cli/test_hostile_texts.py::test_nothing_in_a_record_acts_on_who_reads_of_it",
        "cli/test_follow.py::test_nothing_of_a_task_is_a_command_on_github",
        "unit/test_door.py::test_nothing_but_colours_acts_on_a_terminal",
        "unit/test_diagnostics.py::test_every_character_that_acts_or_hides_is_written_out",
        "unit/test_ci_guard.py::test_no_pieces_add_up_to_a_command",
    ],
}


@functools.cache
def names_in(file):
    """The names of the tests in a file, without those that are always skipped or expected to fail."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not any(map(is_put_off, node.decorator_list))
    }


def is_put_off(mark):
    return any(word in ast.unparse(mark) for word in ("mark.skip(", "mark.xfail"))


def number(row):
    return int(row.partition(" ")[0])


def test_every_row_has_a_test_or_a_reason():
    rows = [number(row) for row in SHOWN]
    assert len(set(rows)) == len(rows)
    assert sorted([*rows, *WAITING]) == ROWS
    assert all(SHOWN.values())


@pytest.mark.parametrize("row", SHOWN)
def test_the_tests_of_a_row_are_there(row):
    places = [name.partition("::") for name in SHOWN[row]]
    missing = [name for file, _, name in places if name not in names_in(file)]
    assert missing == []


def test_the_page_about_faults_is_linked():
    root = TESTS.parent
    assert "docs/faults.md" in (root / "README.md").read_text(encoding="utf-8")
