"""The doors for who watches the server: metrics, `/healthz`, systemd."""
