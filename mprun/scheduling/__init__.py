"""From a job to a plan, and the state machine that runs it; pure: no clock, file or process."""
