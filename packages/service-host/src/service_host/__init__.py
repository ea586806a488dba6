"""What any long-running process of this project needs: settings, engines, supervisor, health, logs, queue ownership."""
