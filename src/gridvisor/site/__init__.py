"""The site file and the roles it names: read, checked and laid out. Pure: nothing here touches the world."""
