"""What to buy now and what later while a demand grows: growth scenarios, books of prices, one program over all."""
