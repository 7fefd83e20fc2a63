"""Reference supernets, one readable file each; ``python -m models.NAME`` trains one."""
