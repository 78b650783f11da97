"""Trains a model and keeps it in a run folder."""
