"""Jobs over files and streams of any size."""
