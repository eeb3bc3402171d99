"""What the processes of one training tell each other in every step."""
