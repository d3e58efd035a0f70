"""Many profiles: tasks in a folder, each committed as a file, run by an engine that others maintain."""
