"""What a forecast is compared with: persistence, a linear inverse model, six published networks."""
