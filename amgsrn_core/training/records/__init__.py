"""What a training writes for people to look at while it is on."""
