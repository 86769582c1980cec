"""Durable work: runs of steps that survive a crash, and commands that outlive the server that started them."""
