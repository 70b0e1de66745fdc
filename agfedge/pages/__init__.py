"""What people read: tables, HTML and figures, the same on a terminal and on a page."""
