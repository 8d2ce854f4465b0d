"""The Grafana dashboard, and a picture of what it shows."""
