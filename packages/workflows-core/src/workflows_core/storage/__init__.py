"""Tables, transactions and queries; only this package sees them."""
