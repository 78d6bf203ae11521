"""What the machine says and has: failures of disks and GPUs as kinds of errors, devices, processes, private folders."""
