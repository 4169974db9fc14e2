"""What one operator costs: the closed form, energy, memory, collectives, and how costs add up to an estimate."""
