"""Authored workflows a newcomer can read and run; `workflows demo` runs `order_payment.json`."""
