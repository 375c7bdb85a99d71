"""Telling an operator what fails: from finished runs to incidents, from incidents to notes, from notes to channels."""
