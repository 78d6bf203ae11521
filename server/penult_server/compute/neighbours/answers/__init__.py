"""What is read off a graph of neighbours: votes, duplicates, wrong labels, what a space is organised by."""
