"""Parallel work: executors for tasks on several processes, and the threads of one."""
