"""How long a program takes on a device, from exact tile counts: bounds, cycles, schedules, memory."""
