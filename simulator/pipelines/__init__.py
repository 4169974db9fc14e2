"""Data-acquisition pipelines: mean rates in closed form, classifiers, power, and the physics that is kept."""
