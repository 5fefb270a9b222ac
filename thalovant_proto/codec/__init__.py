"""Codecs between events and frames: JSON envelopes and the WIRE-1 binary format."""
