"""`lmtool batch`: rows in, a JSON object a row out, whatever stops it in between."""
