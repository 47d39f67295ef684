"""What has to survive forks, threads, interrupts and the end of the process."""
