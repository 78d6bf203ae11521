"""The loss of the head: how its gradients agree, and how it bends."""
