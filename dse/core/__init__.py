"""What every room uses: errors, units, tables, money, text, and the axes that arrays share."""
