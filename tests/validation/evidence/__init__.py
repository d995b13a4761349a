"""Published and measured results beside ours, each worked again from its own inputs."""
