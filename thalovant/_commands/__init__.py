"""The commands of `thalovant`, each module loaded when one of its commands runs."""
