"""What runs together, when, and what follows what: jobs, schedules, sensors."""
