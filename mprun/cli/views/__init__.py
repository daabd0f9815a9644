"""What commands show of plans and of past runs."""
