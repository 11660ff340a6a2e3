"""Front ends: what hears and speaks one 80 ms frame at a time."""
