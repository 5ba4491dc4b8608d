"""Tasks on several processes, threads within one."""
