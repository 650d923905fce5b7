"""What calls would have cost: prices of a book joined with the token columns of many calls at once."""
