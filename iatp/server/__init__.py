"""Every endpoint that is not the hot one: the aiohttp application behind the door."""
