"""What trains: each trainer obeys one reference file and one manifest row, and leaves one result file."""
