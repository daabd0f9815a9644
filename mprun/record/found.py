"""What `line_scanner.py` finds at once in a large record, as texts, by place: see `success_finder`."""

Found = tuple[str, ...]

START, STARTED, PID, PPID, END_TIME, ENDED, EXIT_PID, DURATION, CPU, MAX_RSS, THREADS = range(11)
FINISHED, JOIN, LATER, JOINED_NAME, OTHER = range(11, 16)
