"""An example of an action pack: greetings and stock levels."""
