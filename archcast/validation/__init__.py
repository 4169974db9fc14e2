"""How right the model is: measured data sets, split by groups, scored beside named baselines (docs/validate.md)."""
