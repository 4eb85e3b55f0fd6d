"""What `look` shows of the inside of a network: functions of a `Looked`, each of which makes a page."""
