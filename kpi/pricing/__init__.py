"""What tokens cost: the table of prices and the file of a team's own."""
