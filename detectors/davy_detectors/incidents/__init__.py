"""From alarms to incidents: one an episode, with its evidence and with what recognises its samples."""
