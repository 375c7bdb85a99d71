"""What people look at: tables, charts, the HTML report; all text of attackers rendered harmlessly."""
