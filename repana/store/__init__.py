"""Activations on disk: a folder of lanes, each of immutable parts, and a manifest that makes them one recording."""
