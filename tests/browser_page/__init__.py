"""The service's page in a real browser, on `archcast serve`."""
