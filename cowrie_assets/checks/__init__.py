"""Asset checks: each says what it found, and what to do where it fails."""
