"""Answers as people read them: a table on the terminal (`terminal`, `listings`) and a page (`html`)."""
