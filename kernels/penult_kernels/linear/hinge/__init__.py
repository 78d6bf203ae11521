"""Support vector machines: hinge losses with an L2, and the head of the largest margin as their limit."""
