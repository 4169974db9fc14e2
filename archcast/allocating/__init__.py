"""Who gets what under budgets: knapsacks, online, under risk, robust, in two stages, routes and cascades.

Values (accuracy, reward, worth) always come from the caller; costs come from the caller or from archcast's models.
"""
