"""What people read: tables on the terminal and files beside the study."""
