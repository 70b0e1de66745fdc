"""From groups to a plan, from a plan to a smaller graph, and the proof that it equals the masked one."""
