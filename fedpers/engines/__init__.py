"""Engines: each gives the ServerApp a Flower Grid and runs the ClientApp behind it."""
