"""What a study found, as people read it: one self-contained HTML page, and tables for the terminal."""
